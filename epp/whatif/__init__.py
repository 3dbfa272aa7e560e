"""What would have been decided: a second core that hears what the first one hears, in a world of its own. Pure."""

from epp.whatif.regret import ShadowStatistics
from epp.whatif.shadow import Shadow

__all__ = ["Shadow", "ShadowStatistics"]
