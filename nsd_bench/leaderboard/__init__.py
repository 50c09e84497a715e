"""The leaderboard: entries, groups that do not differ, the site, the ledger and the Ladder rule."""
