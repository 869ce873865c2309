"""What a guest does with a mounted share: one script per theme, run inside the guest.

Each works in a fresh directory below ``$DIR`` and removes it. It needs no server: ``DIR=/some/local/directory`` shows what the
local file system does. Status 0 means that all went well, 77 that something is missing (the last line says what).

Environment: DIR, the directory; SERVER_ROOT=yes|no, whether owners can be changed there; CACHE=none|loose|mmap|fscache|local;
PYTHON, the interpreter.
"""
