// An alert formatter: one line that says what happened, and where help is.
import telemetry from "headgate:plugin/telemetry";
import { example, schema } from "./settings.js";

let settings = {};

// The words: a headline, then the runbook where there is one.
function lines({ runbook }, event) {
  const said = ["resolved", "test"].includes(event.phase) ? event.phase : event.severity;
  const health = event["new"] === "maintenance" ? "in maintenance" : event["new"];
  const headline = `[${said.toUpperCase()}] ${event.service.name} is ${health}: ${event.detail}`;
  const help = runbook && event.phase !== "resolved" ? [`Runbook: ${runbook}${event.code}`] : [];
  return [headline, ...help];
}

export const alertFormatter = {
  format(event) {
    telemetry.log("debug", `words for ${event.id}`);
    return { issues: lines(settings, event), channels: [], channel: null, dedupKey: null, extra: [] };
  },
};

export const plugin = {
  describe() {
    return {
      name: "{{name}}",
      version: "0.1.0",
      summary: "Words an alert in one line, with a link to the runbook",
      configSchema: JSON.stringify(schema),
      exampleConfig: JSON.stringify(example),
      stateVersion: 0,
      wants: [],
      metrics: [],
      extra: [],
    };
  },

  // The gate has checked the JSON with the schema; what else is wrong is thrown as a list of issues.
  configure(json) {
    settings = JSON.parse(json);
  },

  selfTest() {
    const service = { name: "shop" };
    const event = { phase: "opened", severity: "critical", service, new: "failing", code: "refused", detail: "connection refused" };
    const came = lines({}, event);
    return [
      {
        name: "an incident has one line",
        passed: came.length === 1 && came[0] === "[CRITICAL] shop is failing: connection refused",
        message: `one line was expected, this came: ${came}`,
      },
    ];
  },
};
