"""Watch the model in production: scheduled evaluation, drift, alerts."""
