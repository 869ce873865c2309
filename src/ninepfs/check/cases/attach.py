"""Tattach: the root of the export, as a user."""

from __future__ import annotations

import errno

from ninepfs.check.case import UL, Failure, L, require, same
from ninepfs.check.line import told
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire.constants import NOFID, NONUNAME, GetattrMask, QidType
from ninepfs.wire.messages import Rattach, Tattach

_REFUSED = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EINVAL)


def _attach(trial: Trial, fid: int) -> Tattach:
    setting = trial.setting
    return Tattach(fid, NOFID, setting.uname, setting.aname, setting.n_uname)


def _root(trial: Trial, session: Session, fid: int) -> Rattach:
    return session.connection.call(_attach(trial, fid), Rattach)


@case("attach(5)")
def attach_gives_a_directory(trial: Trial) -> None:
    """The qid of Rattach is that of a directory."""
    s = trial.strangers()
    qid = _root(trial, s, 0).qid
    require(qid.type & QidType.DIR, "a qid with the type bit 0x80", qid)


@case("attach(5)")
def attach_qid_is_that_of_the_root(trial: Trial) -> None:
    """The qid of Rattach is what the attributes of the root say."""
    s = trial.strangers()
    same(_root(trial, s, 0).qid.path, s.facts(0).qid.path, "qid.path of the root")


@case("attach(5)")
def attach_again_gives_the_same_qid(trial: Trial) -> None:
    """Two attaches to one tree, also of two sessions, tell the same qid."""
    s, other = trial.strangers(), trial.strangers()
    first = _root(trial, s, 0).qid
    same(_root(trial, s, 5).qid[::2], first[::2], "type and path of the root's qid")
    same(_root(trial, other, 0).qid[::2], first[::2], "type and path of the root's qid in another session")


@case("attach(5)")
def attach_fid_in_use_is_refused(trial: Trial) -> None:
    """Attaching to a fid that is in use is an error, and the fid stays what it was."""
    s = trial.session()
    s.refuse(_attach(trial, s.home))
    s.put(s.home, b"file")
    same(s.names(s.home), [b"file"], "what is in the directory of the fid")


@case("attach(5)")
def attach_nofid_is_refused(trial: Trial) -> None:
    """NOFID is not a fid that one can attach to."""
    s = trial.session()
    s.refuse(_attach(trial, NOFID))
    s.alive(s.root)


@case("attach(5)")
def attach_with_an_afid_that_is_none_is_refused(trial: Trial) -> None:
    """An afid that is not an authentication file is refused."""
    s = trial.session()
    setting = trial.setting
    for afid in (77, s.home):
        s.refuse(Tattach(9, afid, setting.uname, setting.aname, setting.n_uname))
    s.gone(9)


@case("attach(5)")
def attach_to_an_unknown_tree_is_refused(trial: Trial) -> None:
    """An aname that the server does not have is an error."""
    s = trial.strangers()
    message = _attach(trial, 0)._replace(aname=b"/no such tree/9pfs-check")
    reply = s.ask(message)
    if error_of(reply) is None:
        trial.skip("the server has one tree and ignores aname")
    s.gone(0)


@case("attach(5)")
def attach_several_times_in_one_session(trial: Trial) -> None:
    """A session may attach many times; each attach has its own root fid, and clunking one leaves the others."""
    s = trial.session()
    for fid in range(10, 20):
        _root(trial, s, fid)
    for fid in range(10, 19):
        s.clunk(fid)
    s.alive(19)
    s.alive(s.root)


@case("attach(5)")
def attach_after_the_root_was_clunked(trial: Trial) -> None:
    """A session outlives its root fid: other fids stay, and it may attach anew."""
    s = trial.session()
    s.clunk(s.root)
    s.alive(s.home)
    _root(trial, s, s.root)
    s.alive(s.root)


@case("Linux v9fs attaches so at every mount", UL)
def attach_without_a_number_for_the_user(trial: Trial) -> None:
    """A user may be given by name alone: n_uname is ~0."""
    s = trial.strangers()
    reply = s.ask(Tattach(0, NOFID, b"nobody", trial.setting.aname, NONUNAME))
    require(error_of(reply) is None, "Rattach for uname 'nobody' without a number", told(reply))


@case("Linux v9fs attaches so for further users (access=user)", UL)
def attach_with_a_number_and_no_name(trial: Trial) -> None:
    """A user may be given by number alone: uname is empty."""
    if trial.setting.n_uname == NONUNAME:
        trial.skip("no uid was given")
    s = trial.strangers()
    s.attach(0, NOFID, b"", trial.setting.aname, trial.setting.n_uname)
    s.alive(0)


@case("9P2000.L description; attach(5)", L)
def attached_users_own_what_they_create(trial: Trial) -> None:
    """A new file belongs to the user of the attach that its directory's fid descends from."""
    if not trial.privileged:
        trial.skip("only root can attach as several users")
    owners = []
    for uid in (1234, 4321):
        s = trial.strangers()
        with trial.optional("the server lets no other user attach", *_REFUSED):
            trial.enter(s, uid)
        try:
            s.clunk(s.make(s.home, b"of-%d" % uid))
        except Failure as failure:
            if failure.errno in (errno.EACCES, errno.EPERM):
                trial.skip(f"uid {uid} may not write there")
            raise
        fid = s.reach(s.home, b"of-%d" % uid)
        owners.append(s.getattr(fid, GetattrMask.BASIC).uid)
    if owners[0] == owners[1]:
        trial.skip(f"the server lets every file belong to uid {owners[0]}")
    same(owners, [1234, 4321], "owners")


@case("attach(5); 9P2000.L description", UL)
def attaches_of_two_users_share_a_session(trial: Trial) -> None:
    """Two users can be attached in one session; each fid stays that of its own attach."""
    if not trial.privileged:
        trial.skip("only root can attach as several users")
    s = trial.session()
    with trial.optional("the server lets no other user attach", *_REFUSED):
        s.attach(10, NOFID, b"", trial.setting.aname, 1234)
    same(s.facts(10).qid.path, s.facts(s.root).qid.path, "qid.path of the root, for another user")
    s.clunk(10)
    s.put(s.home, b"file", b"data")
    same(s.content(s.home, b"file"), b"data", "content, after the other user is gone")


@case("attach(5)")
def attach_with_the_longest_names_does_no_harm(trial: Trial) -> None:
    """A uname or aname of tens of thousands of bytes is refused or ignored, and others go on."""
    with trial.bystander():
        s = trial.strangers()
        name = b"n" * 30000
        s.ask(_attach(trial, 5)._replace(uname=name))
        s.ask(_attach(trial, 6)._replace(aname=name))
        s.ask(_attach(trial, 7)._replace(uname=b"\xff\xfe", aname=b"\xff\xfe"))
        _root(trial, s, 8)
        s.alive(8)
