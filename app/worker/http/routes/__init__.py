"""The routes of `/api`, by what they are about. Each stands in a row with what describes it."""
