"""The debug page for everybody."""
import tether.debug
from tether.debug import page, serve

serve("0.0.0.0", 6060)  # error: CTX901
tether.debug.serve(host="::", port=6060)  # error: CTX901
app.mount("/debug", page)  # error: CTX901

# Right:

serve("127.0.0.1", 6060)
server.serve("0.0.0.0", 80)
app.mount("/static", files)
