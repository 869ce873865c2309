"""The virtio device, driven by a guest without a kernel."""
