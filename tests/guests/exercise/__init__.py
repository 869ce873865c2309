"""What a guest does with a mounted share: one script per theme, run inside the guest.

Each works in a fresh directory below ``$DIR`` and removes it. It needs no server: with ``DIR=/some/local/directory`` it
shows what the local file system does. Status 0 means that all went well, 77 that something is missing; the last line
says what.

Environment:

* DIR, the directory
* CACHE=none|loose|mmap|fscache|local, how it is mounted
* SERVER_ROOT=yes|no, whether owners can be changed there
* XATTRS=yes|no, whether the file system behind it has user attributes
* MOVES=yes|no, whether a rename may lead to another directory (9P2000.u has no message for that)
* NEW_GROUP, the group of what a user of group 4321 makes (9P2000.u does not tell the server)
* DIALECT=9p2000.u|9p2000|local, for the exercise of the older dialects
* PYTHON, the interpreter
"""
