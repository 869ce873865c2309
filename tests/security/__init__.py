"""What must never happen, whatever clients and host programs do."""
