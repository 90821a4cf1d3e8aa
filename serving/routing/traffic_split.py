"""Traffic split: shares of the requests for stages, versions and registered models."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.routing.deployment import Deployment
from textmill.ground.errors import UserError
from textmill.settings.serving import target_of

_VERSION = "version:"


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a traffic share: a stage's current version, or one fixed version."""

    label: str  # as the configuration has it
    model: str
    share: float  # of the sum of all shares
    stage: str = ""
    number: int | None = None

    @classmethod
    def parse(cls, label: str, share: float, model: str) -> "Target":
        """Read `Staging`, `version:7`, or either with another model's name: `name@Staging`.

        Raises:
            UserError: it has none of these forms.
        """
        try:
            name, stage, number = target_of(label)
        except ValueError as error:
            raise UserError(f"serve: {error}") from None
        return cls(label, name or model, share, stage, number)


def targets(split: Mapping[str, float], stage: str, model: str) -> list[Target]:
    """The targets of a split, largest share first. Without a split, all traffic goes to the stage.

    Raises:
        UserError: a target is invalid.
    """
    shares = dict(split) or {stage: 100.0}
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return [Target.parse(label, share, model) for label, share in ordered]


class Route:
    """A target and its current version; None until it is loaded."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.deployment: Deployment | None = None
        self.problem = ""

    def answers_to(self, name: str) -> bool:
        """Whether a client's target names this route."""
        if self.deployment is None:
            return False
        identity = self.deployment.served.identity
        number = str(identity.version or "")
        names = {self.target.label, identity.stage or "", identity.name, identity.checksum}
        names |= {number, f"{_VERSION}{number}", f"{identity.name}@{identity.stage}", f"{identity.name}@{number}"}
        return name.lower() in {each.lower() for each in names}


def choose(routes: Sequence[Route], user: str) -> Route:
    """The route of a user: the same one while the shares stay. Without a user, a random one."""
    digest = hashlib.sha256(user.encode("utf-8", "surrogatepass")).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64 if user else random.random()
    point *= sum(route.target.share for route in routes)
    for route in routes:
        point -= route.target.share
        if point < 0:
            return route
    return routes[-1]
