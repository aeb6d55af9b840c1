//! A generic webhook, signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
