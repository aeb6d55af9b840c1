//! Slack's incoming webhooks: text always, blocks where the formatter made some, within Slack's limits.
