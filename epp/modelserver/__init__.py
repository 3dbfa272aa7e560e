"""What the model servers say about themselves: their metrics pages, fetched and read, as core events."""

from epp.modelserver.failures import FailureKind, ScrapeFailure
from epp.modelserver.scraper import ScrapeNotice, Scraper, ScrapeStatistics, log_notice

__all__ = ["FailureKind", "ScrapeFailure", "ScrapeNotice", "ScrapeStatistics", "Scraper", "log_notice"]
