"""What the JSON of a comparison says: medians, ratios to our own engine, shares of the limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.comparison.contenders import OURS

NEVER = "not asked for"


@dataclass(frozen=True)
class Results:
    """One comparison."""

    told: Mapping[str, Any]

    @property
    def variant(self) -> str:
        """The name of our kernels in use."""
        return self.told["machine"]["variant"]

    def figures(self, measure: str, engine: str) -> list[Mapping[str, Any]]:
        """Those with numbers; our own engine has one in each pass."""
        return [
            one
            for one in self.told["figures"]
            if (one["measure"], one["engine"]) == (measure, engine) and one["seconds"]
        ]

    def reason(self, measure: str, engine: str) -> str:
        """Why there is no figure."""
        for one in self.told["figures"]:
            if (one["measure"], one["engine"]) == (measure, engine) and one["error"]:
                return one["error"]
        return self.told["engines"].get(engine, {}).get("error", NEVER)

    def relative(self, measure: str, engine: str, kind: str = "seconds") -> float | None:
        """The engine's median divided by ours of the same pass."""
        for one in self.figures(measure, engine):
            for own in self.figures(measure, OURS):
                if one["group"] == own["group"] and middle(one, kind) and middle(own, kind):
                    return middle(one, kind) / middle(own, kind)
        return None

    def ratio(self, measure: str, engine: str, against: str, kind: str = "seconds") -> float | None:
        """How many times what this engine takes another takes; both are known relative to ours."""
        other, own = (self.relative(measure, name, kind) for name in (against, engine))
        return None if other is None or own is None else other / own

    def limit(self, measure: str, group: int, kind: str) -> float | None:
        """What the machine could do in the minutes of that pass."""
        for one in self.told["limits"]:
            if (one["measure"], one["group"]) == (measure, group) and one["rounds"]:
                return median(each[kind] for each in one["rounds"])
        return None

    def reading_share(self, measure: str, engine: str = OURS) -> float | None:
        """Of the stream read: how much of it the weights of a step alone are."""
        size = self.told["engines"].get(engine, {}).get("weight_bytes")
        for one in self.figures(measure, engine):
            read = self.limit(measure, one["group"], "read")
            if size and read:
                return size / middle(one) / read
        return None

    def product_share(self, measure: str, products: int, engine: str = OURS) -> float | None:
        """Of the peak loop, for so many products."""
        for one in self.figures(measure, engine):
            peak = self.limit(measure, one["group"], "int8")
            if peak:
                return products / middle(one) / peak
        return None


def middle(figure: Mapping[str, Any], kind: str = "seconds") -> float:
    """The median: of seconds, or of bytes of this kind; 0 where there is none."""
    if kind in ("seconds", "load"):
        numbers = figure[kind]
    else:
        numbers = [one[kind] for one in figure["memory"]]
    return median(numbers) if numbers else 0.0
