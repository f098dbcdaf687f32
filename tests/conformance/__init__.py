"""The conformance runner: plays Go's recorded scenarios on tether.

`FORMAT.md` is the language of the scenarios, `vectors/` holds them. Run it with
`python -m tests.conformance [FOLDER]`.

    grammar.py       the steps that exist, their fields, what tether needs for them
    vectors.py       reads a folder of scenarios
    naming.py        errors and keys, from their spelling and back
    user_made.py     the user-made contexts of FORMAT.md section 5
    work.py          what runs beside the script: threads, after-functions, their log
    world.py         all that one scenario knows while it is played
    constructors.py acting.py looking.py grouping.py    one function for each step
    ways.py          the two ways to wait: in threads, and on asyncio
    play.py          one scenario, one way, from its first step to its last thread
    compare.py       Go's result and tether's; which exception stands for which panic
    report.py        what is printed
    watch.py         ends a run that hangs, and says where
"""
