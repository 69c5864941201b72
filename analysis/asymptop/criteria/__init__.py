"""How a claim is decided: from fits, ratios and expectations to a verdict."""
