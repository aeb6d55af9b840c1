//! StockFlow's Event Dispatcher: `POST /api/v1/health-alert`; 200 means accepted, 422 is for good.
