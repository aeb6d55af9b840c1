// A health policy: a service fails when its newest probes failed, so many in a row.
import telemetry from "headgate:plugin/telemetry";
import { example, schema } from "./settings.js";

let settings = example;

// The rule: how many of the newest probes failed in a row.
function judge({ failures }, samples) {
  const made = samples.filter((it) => it.outcome !== "skipped");
  const failed = made.length - 1 - made.findLastIndex((it) => it.outcome === "ok");
  if (made.length === 0) return ["unknown", "no-samples", "no probe has been made yet"];
  if (failed >= failures) return ["failing", "failed", `${failed} probes in a row failed`];
  if (failed > 0) return ["degraded", "wavering", `${failed} of ${failures} probes failed`];
  return ["ok", "ok", "as expected"];
}

export const healthPolicy = {
  evaluate(input, prior) {
    const [status, code, detail] = judge(settings, input.samples);
    telemetry.log("debug", `${input.service.name} is ${status}`);
    const alert = { severity: "critical", issues: [input.service.name], channels: [] };
    return {
      status,
      code,
      detail,
      actions: status === "failing" ? [{ tag: "alert", val: alert }] : [],
      nextCheckMs: null,
      state: null,
      extra: [],
    };
  },
};

export const plugin = {
  describe() {
    return {
      name: "{{name}}",
      version: "0.1.0",
      summary: "Fails a service when its newest probes failed, so many in a row",
      configSchema: JSON.stringify(schema),
      exampleConfig: JSON.stringify(example),
      stateVersion: 0,
      wants: ["action:alert"],
      metrics: [],
      extra: [],
    };
  },

  // The gate has checked the JSON with the schema; what else is wrong is thrown as a list of issues.
  configure(json) {
    settings = { failures: 2, ...JSON.parse(json) };
  },

  selfTest() {
    const [status, code] = judge(example, []);
    return [
      {
        name: "nothing seen is unknown",
        passed: status === "unknown" && code === "no-samples",
        message: `unknown was expected, ${code} came`,
      },
    ];
  },
};
