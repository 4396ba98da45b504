"""`python -m foreshock_server serve …`: the same words as the command `foreshock`."""

import sys

from foreshock_server.cli import main

sys.exit(main(sys.argv[1:]))
