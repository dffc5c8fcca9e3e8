"""Versions and champions as git tags of GTO, on commits that hold what was retrained.

`kinoflow@v1.2.0` names a version, `kinoflow#champion#7` says that it became champion, as the
seventh. The tags are all there is to know: any clone that can reach the DVC remote can bring any
champion back from them. GTO's own commands (`gto show`, `gto history`) and DVC Studio read them.

Commits are made on a branch of their own, and pushed together with the tags or not at all. If
somebody else was quicker, everything is made anew from the new state. Nothing of the user's is
touched: neither files, nor index, nor the branch that is checked out.
"""

import contextlib
import random
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.dvc import Say
from flows.git import GitFailed, author, dvc, found, git, has_remote
from flows.journal import Crowning
from kinoflow import bentos
from kinoflow.config import Retrain
from kinoflow.reports.decision import Decision
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace

ARTIFACT, STAGE = "kinoflow", "champion"

_TRIES = 6  # of a push that others were quicker than
_MINE = "refs/kinoflow"  # where refs lie until they are pushed, and what was held
_HELD = f"{_MINE}/held"
_TAGS = f"refs/tags/{ARTIFACT}*"
# what git says if somebody else was quicker; anything else will not pass by itself
_LOST = re.compile(r"\[rejected\]|fetch first|cannot lock ref|failed to update ref|already exists")
_FACT = re.compile(r"^(bento|model|rollback): (.*)$", re.MULTILINE)


class Overtaken(Exception):
    """Another champion was crowned since the decision, so that the decision is void."""


@dataclass(frozen=True)
class Tags:
    """The champions of a repository.

    Args:
        workspace: its work tree.
        settings: the section `retrain` of params.yaml.
    """

    workspace: Workspace
    settings: Retrain

    @property
    def root(self) -> Path:
        return self.workspace.root

    @property
    def branch(self) -> str:
        return f"refs/heads/{self.settings.branch}"

    def learn(self, say: Say) -> None:
        """Learn what others promoted.

        Raises UserError if the repository cannot be used, or the remote cannot be reached.
        """
        self._require_usable()
        self._fetch()

    def follow(self, say: Say) -> None:
        """Have the champion of the tags served here as well, whoever promoted it."""
        entries = self.entries()
        if not entries:
            return
        served = bentos.champion(self.workspace.champion)
        if served is not None and served == self._kept(entries[-1]) and served.exists():
            return
        bento = self.bring(entries[-1], say)
        if served != bento:
            say(f"the champion of the tags is {entries[-1].name}: it is served from now on")
            bentos.crown(self.workspace.champion, bento)

    def entries(self) -> list[Crowning]:
        """All that were champions, the first one first."""
        return [_crowning(event) for event in self._assignments()]

    def bring(self, crowning: Crowning, say: Say) -> Path:
        """The .bento file of a champion in dist/, fetched by DVC if it is not there."""
        kept = self._kept(crowning)
        if kept is not None and kept.exists():
            return kept
        event = next(e for e in self._assignments() if _crowning(e).name == crowning.name)
        say(f"bringing {crowning.name} from DVC's cache or remote")
        self.workspace.dist.mkdir(parents=True, exist_ok=True)
        fetched = self.workspace.dist / f"{files.TEMPORARY}{crowning.name}.bento"
        try:
            name = self.workspace.bento.relative_to(self.root).as_posix()
            arguments = ["--rev", event["commit"], "--out", str(fetched.absolute()), "--force"]
            dvc(self.root, "get", ".", name, *arguments)
            return bentos.keep(fetched)
        finally:
            fetched.unlink(missing_ok=True)

    def record(self, made: Decision, say: Say, *, held: bool = False) -> None:
        """Commit what was retrained and decided, without a version.

        Args:
            made: the decision.
            say: hears what is done.
            held: whether a person is to decide: then `promote` commits the same state later.
        """
        commit = self._publish(made, say, crown=False, since=None, tree=self._tree())
        if held:
            git(self.root, "update-ref", _HELD, commit)

    def promote(self, made: Decision, bento: Path, say: Say) -> str:
        """Commit, tag a version, and crown it; return its name, such as v1.2.0.

        Raises Overtaken if the champion is no longer that of the decision.
        """
        held = found(self.root, "rev-parse", "--verify", "--quiet", _HELD) if made.person else ""
        entries = self.entries()
        if entries and entries[-1].version not in (made.champion, None):
            raise Overtaken
        self._publish(
            made, say, crown=True, since=len(entries), tree=self._tree(held or None), bento=bento
        )
        bentos.crown(self.workspace.champion, bento)
        if held:
            git(self.root, "update-ref", "-d", _HELD)
        return self.entries()[-1].name

    def roll_back(self, crowning: Crowning, bento: Path, why: str, say: Say) -> None:
        """Crown an earlier champion again, by a tag alone."""
        if self.entries()[-1].name != crowning.name:
            facts = {"bento": bentos.version(bento), "model": crowning.model, "rollback": "true"}

            def tag(scratch: Path) -> list[str]:
                return [_assign(scratch, crowning.name, _message(why, facts), author(self.root))]

            self._push(tag, None, say)
        bentos.crown(self.workspace.champion, bento)

    # === Making commits and tags ===

    def _tree(self, held: str | None = None) -> str:
        """The tree to commit: that of HEAD, with the four files as they are in the work tree.

        Args:
            held: a commit whose files are taken in place of these; only the decision is new.
        """
        with tempfile.TemporaryDirectory(prefix="kinoflow-index-") as folder:
            env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            git(self.root, "read-tree", held or "HEAD", env=env)
            prefix = git(self.root, "rev-parse", "--show-prefix")
            names = [self.workspace.decision]
            if held is None:
                lock = self.root / "dvc.lock"
                names += [lock, self.workspace.data_dvc, self.workspace.params]
            for path in names:
                if path.exists():
                    name = path.relative_to(self.root).as_posix()
                    blob = git(self.root, "hash-object", "-w", "--", name)
                    entry = f"100644,{blob},{prefix}{name}"
                    git(self.root, "update-index", "--add", "--cacheinfo", entry, env=env)
            return git(self.root, "write-tree", env=env)

    def _publish(
        self,
        made: Decision,
        say: Say,
        *,
        crown: bool,
        since: int | None,
        tree: str,
        bento: Path | None = None,
    ) -> str:
        """Commit a tree and push it, with tags if it is crowned; return the commit.

        Args:
            made: the decision.
            say: hears what is done.
            crown: whether to tag a version and make it champion.
            since: how many champions there were when it was decided; with more, it is overtaken.
            tree: to commit.
            bento: the model, if it is crowned.
        """
        self._push_data(say)
        subject = " ".join(f"{made.verdict}: {made.reason}".split())
        commit = ""

        def make(scratch: Path) -> list[str]:
            nonlocal commit
            if since is not None and len(_assignments(scratch)) > since:
                raise Overtaken
            commit = self._commit(tree, subject)
            git(scratch, "fetch", "--quiet", str(self.root.absolute()), commit)
            if not crown:
                return []
            assert bento is not None
            facts = {"bento": made.challenger, "model": bentos.model_md5(bento)}
            return _version(scratch, commit, made, _message(made.reason, facts), author(self.root))

        self._push(make, lambda: commit, say)
        return commit

    def _commit(self, tree: str, subject: str) -> str:
        """A commit of the tree on top of the branch and of what is checked out."""
        tips = [
            self.branch,
            f"{_MINE}/remote/{self.settings.branch}",
            "HEAD",
        ]
        known = [found(self.root, "rev-parse", "--verify", "--quiet", tip) for tip in tips]
        parents = git(self.root, "merge-base", "--independent", *filter(None, known)).split()
        # the branch's own first, so that `git log --first-parent` is its history
        parents.sort(key=known.index)
        if len(parents) == 1 and git(self.root, "rev-parse", f"{parents[0]}^{{tree}}") == tree:
            return parents[0]
        arguments = [word for parent in parents for word in ("-p", parent)]
        name, address = author(self.root)
        env = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", name), ("EMAIL", address))
        }
        return git(self.root, "commit-tree", tree, *arguments, text=subject, env=env)

    def _push(self, make: Any, commit: Any, say: Say) -> None:
        """Make a commit and tags, and push all of them or none, again if somebody was quicker.

        Args:
            make: given a copy of the repository, makes the tags in it, and returns their names.
            commit: gives the commit to move the branch to; None: the branch stays.
            say: hears what is done.
        """
        for attempt in range(_TRIES):
            if attempt:
                say("somebody else was quicker: once more, from the new state")
                time.sleep(random.uniform(0, 0.5) * attempt)
            self._fetch()
            with self._scratch() as scratch:
                tags = make(scratch)
                moved = {f"refs/tags/{tag}": f"{_MINE}/new/tags/{tag}" for tag in tags}
                if tags:
                    pairs = [f"+{ref}:{mine}" for ref, mine in moved.items()]
                    git(self.root, "fetch", "--quiet", "--no-tags", str(scratch), *pairs)
            if commit is not None:
                moved[self.branch] = f"{_MINE}/new/branch"
                git(self.root, "update-ref", moved[self.branch], commit())
            before = found(self.root, "rev-parse", "--verify", "--quiet", self.branch)
            try:
                if remote := self.settings.remote:
                    pairs = [f"{mine}:{ref}" for ref, mine in moved.items()]
                    git(self.root, "push", "--quiet", "--atomic", "--porcelain", remote, *pairs)
                    # what was pushed counts, whatever happens to the refs here
                    with contextlib.suppress(GitFailed):
                        self._take_over(moved, before)
                    self._fetch()
                else:
                    self._take_over(moved, before)
                return
            except GitFailed as failure:
                if attempt == _TRIES - 1 or not _LOST.search(failure.output):
                    raise

    def _take_over(self, moved: dict[str, str], before: str) -> None:
        """Set the repository's own refs, all or none; fails if one has changed meanwhile."""
        lines = []
        for ref, mine in moved.items():
            new = git(self.root, "rev-parse", mine)
            if ref == self.branch:
                lines.append(f"update {ref} {new} {before or '0' * 40}")
            else:
                lines.append(f"create {ref} {new}")
            lines.append(f"delete {mine}")
        git(self.root, "update-ref", "--stdin", text="\n".join(lines) + "\n")

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A copy of the repository to make tags in, so that no half-made state stays in it."""
        with tempfile.TemporaryDirectory(prefix="kinoflow-git-") as folder:
            scratch = Path(folder) / "scratch"
            top = git(self.root, "rev-parse", "--show-toplevel")
            git(self.root, "clone", "--quiet", "--bare", "--shared", top, str(scratch))
            yield scratch

    # === What others see ===

    def _fetch(self) -> None:
        """Bring the branch and all tags of the remote, if there is one."""
        if remote := self.settings.remote:
            branch = f"+{self.branch}*:{_MINE}/remote/{self.settings.branch}*"
            git(self.root, "fetch", "--quiet", "--no-tags", remote, branch, f"{_TAGS}:{_TAGS}")

    def _push_data(self, say: Say) -> None:
        """Push data, models and reports to DVC's remote, if there is one."""
        if has_remote(self.root):
            say("dvc push")
            dvc(self.root, "push")

    def _require_usable(self) -> None:
        """Raise UserError unless commits can be made beside what is checked out."""
        if not found(self.root, "rev-parse", "--verify", "--quiet", "HEAD"):
            raise UserError(
                f"retrain.git is on, and {self.root.absolute()} is no git repository with a commit"
            )
        taken = git(self.root, "worktree", "list", "--porcelain").splitlines()
        if f"branch {self.branch}" in taken:
            raise UserError(
                f"the branch {self.settings.branch} is checked out, and retraining commits to it: "
                "check out another one, or name another one in retrain.branch"
            )
        remotes = git(self.root, "remote").split()
        if self.settings.remote and self.settings.remote not in remotes:
            raise UserError(
                f"retrain.remote: git knows no remote {self.settings.remote}; there are "
                f"{', '.join(remotes) or 'none'}"
            )

    def _assignments(self) -> list[dict[str, Any]]:
        return _assignments(Path(git(self.root, "rev-parse", "--show-toplevel")))

    def _kept(self, crowning: Crowning) -> Path | None:
        if crowning.version is None:
            return None
        return self.workspace.dist / f"kinoflow-{crowning.version}.bento"


def _assignments(repository: Path) -> list[dict[str, Any]]:
    """GTO's events by which versions became champion, in the order of their numbers."""
    import gto.api

    events = [
        dict(event)
        for event in gto.api.history(str(repository), ARTIFACT)
        if event["event"] == "assignment" and event["stage"] == STAGE
    ]
    return sorted(events, key=lambda event: int(event["ref"].rpartition("#")[2]))


def _crowning(event: dict[str, Any]) -> Crowning:
    # a tag that somebody else made says whatever they like
    why, _, rest = (event["message"] or "").strip().rpartition("\n\n")
    facts = dict(_FACT.findall(rest))
    return Crowning(
        name=event["version"],
        version=facts.get("bento"),
        model=facts.get("model"),
        when=f"{event['timestamp']:%Y-%m-%d %H:%M:%S} UTC",
        why=why if facts else rest,
        rollback=facts.get("rollback") == "true",
    )


def _message(why: str, facts: dict[str, str | None]) -> str:
    """The message of a tag: why on one line, whatever labels hold, then the facts."""
    lines = [f"{name}: {value}" for name, value in facts.items() if value]
    return f"{' '.join(why.split())}\n\n" + "\n".join(lines)


def _version(
    scratch: Path, commit: str, made: Decision, message: str, who: tuple[str, str]
) -> list[str]:
    """Register a commit as the next version, and make it champion; return the two tags.

    The major number rises if the classes change, the minor one for another model, the patch for
    another Bento of the same model.
    """
    import gto.api

    name, address = who
    there = gto.api.history(str(scratch), ARTIFACT)
    is_first = not any(event["event"] == "registration" for event in there)
    part = _part(made)
    registered = gto.api.register(
        str(scratch),
        ARTIFACT,
        commit,
        version="v1.0.0" if is_first else None,
        message=message,
        bump_major=not is_first and part == "major",
        bump_minor=not is_first and part == "minor",
        bump_patch=not is_first and part == "patch",
        author=name,
        author_email=address,
    )
    return [registered.tag, _assign(scratch, registered.version, message, who)]


def _part(made: Decision) -> str:
    """The part of the version number that rises."""
    evidence = made.evidence
    if evidence and (evidence.new_labels or evidence.lost_labels):
        return "major"
    return "patch" if evidence and evidence.same_model else "minor"


def _assign(scratch: Path, version: str, message: str, who: tuple[str, str]) -> str:
    """Make a registered version champion; return the tag."""
    import gto.api

    name, address = who
    assigned = gto.api.assign(
        str(scratch),
        ARTIFACT,
        STAGE,
        version=version,
        message=message,
        force=True,
        skip_registration=True,
        author=name,
        author_email=address,
    )
    tag: str = assigned.tag
    return tag
