"""A virtio 9P device that virtual machines mount: a vhost-user back end."""
