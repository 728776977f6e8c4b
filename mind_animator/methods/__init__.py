"""One room a method: how it trains, predicts and reconstructs."""
