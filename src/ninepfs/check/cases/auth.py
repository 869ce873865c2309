"""Tauth, also where there is no authentication."""

from __future__ import annotations

from ninepfs.check.case import require
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire.constants import NOFID, QidType
from ninepfs.wire.messages import Rauth, Tauth, Twalk


def _auth(trial: Trial, afid: int) -> Tauth:
    return Tauth(afid, trial.setting.uname, trial.setting.aname, trial.setting.n_uname)


@case("attach(5)")
def auth_is_refused_or_gives_an_auth_file(trial: Trial) -> None:
    """Tauth is answered with an error, or with a qid of the type QTAUTH."""
    s = trial.strangers()
    reply = s.ask(_auth(trial, 5))
    if isinstance(reply, Rauth):
        require(reply.aqid.type & QidType.AUTH, "a qid with the type bit 0x08", reply.aqid)
    else:
        require(error_of(reply) is not None, "Rauth or an error", reply)


@case("attach(5)")
def auth_refused_leaves_the_afid_unused(trial: Trial) -> None:
    """A refused Tauth makes no fid: its number can be used for the attach."""
    s = trial.strangers()
    if isinstance(s.ask(_auth(trial, 5)), Rauth):
        trial.skip("the server wants authentication")
    setting = trial.setting
    s.attach(5, NOFID, setting.uname, setting.aname, setting.n_uname)
    s.alive(5)


@case("attach(5)")
def auth_file_cannot_be_walked(trial: Trial) -> None:
    """An authentication file is not part of a tree: it cannot be walked from or cloned."""
    s = trial.strangers()
    if not isinstance(s.ask(_auth(trial, 5)), Rauth):
        trial.skip("the server has no authentication")
    s.refuse(Twalk(5, 6, [b"x"]))


@case("attach(5)")
def auth_fid_in_use_is_refused(trial: Trial) -> None:
    """Tauth does not take a fid that is in use."""
    s = trial.session()
    s.refuse(_auth(trial, s.home))
    s.alive(s.home)
