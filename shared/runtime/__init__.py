"""What every handler needs: settings, logs and metrics, problems as HTTP answers, entry points."""
