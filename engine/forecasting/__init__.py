"""Demand forecasting: features, a global model, the seasonal-naive baseline, intervals, rolling-origin backtests."""
