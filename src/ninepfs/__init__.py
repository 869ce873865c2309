"""ninepfs: a 9P file server and toolkit.

Serve a directory, or any tree of your own, to every 9P client::

    from ninepfs import Export, LocalDriver, Server
    from ninepfs.transports.stream import Listener
    from ninepfs.address import parse_address

    server = Server(Export(LocalDriver("/srv/share")))
    listener = Listener(server, parse_address("unix:///run/share.sock"))
    listener.start()

and look into what others serve::

    from ninepfs import Client

    with Client.connect("unix:///run/share.sock") as client:
        print(client.root.listdir("/"))
"""

__version__ = "0.1.0"
