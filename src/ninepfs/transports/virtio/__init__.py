"""A virtio 9P device that virtual machines mount: a vhost-user back end.

From the outside to the inside: a *listener* waits for frontends, a *link* carries the messages of one, a *device* does
what they ask for and has the guest's *memory* and a *virtqueue*, and a *channel* makes requests of what is in the
queue.
"""

from ninepfs.transports.virtio.listener import VhostUserListener

__all__ = ["VhostUserListener"]
