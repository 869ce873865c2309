"""What a guest does with a mounted share: one script per theme, run inside the guest.

Each works in a fresh directory below ``$DIR`` and removes it. It needs no server: with ``DIR=/some/local/directory`` it
shows what the local file system does. Status 0 means that all went well, 77 that something is missing; the last line
says what.

Environment:

* DIR, the directory
* CACHE=none|loose|mmap|fscache|local, how it is mounted
* SERVER_ROOT=yes|no, whether owners can be changed there
* XATTRS=yes|no, whether the file system behind it has user attributes
* PYTHON, the interpreter
"""
