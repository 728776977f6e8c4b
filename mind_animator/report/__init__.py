"""Report, leaderboard and rating pages, built from tables, figures and videos."""
