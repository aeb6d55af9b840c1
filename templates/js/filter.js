// A request filter: lets in the requests of known tenants.
import request from "headgate:plugin/request";
import { example, schema } from "./settings.js";

// Read by the rule; `describe` asks for it.
const HEADER = "x-tenant";

let settings = example;

// Headers and bodies are bytes; tenants are ASCII.
const bytes = (text) => Uint8Array.from(text, (it) => it.charCodeAt(0));
const text = (bytes) => String.fromCharCode(...bytes);

// The rule: a known tenant passes, an absent one gets the default, anything else is refused.
function decide(settings, tenant) {
  if (tenant !== null && settings.tenants.includes(tenant)) return { tag: "next" };
  if (tenant === null && settings.default !== undefined) {
    return { tag: "edit", val: [{ tag: "set", val: [HEADER, bytes(settings.default)] }] };
  }
  const headers = [["content-type", bytes("application/json")]];
  return { tag: "reply", val: { status: 403, headers, body: bytes('{"error":"unknown tenant"}') } };
}

export const requestFilter = {
  onRequest() {
    const value = request.header(HEADER);
    return decide(settings, value === null ? null : text(value));
  },
};

export const plugin = {
  describe() {
    return {
      name: "{{name}}",
      version: "0.1.0",
      summary: "Lets in the requests of known tenants",
      configSchema: JSON.stringify(schema),
      exampleConfig: JSON.stringify(example),
      stateVersion: 0,
      wants: [`header:${HEADER}`],
      metrics: [],
      extra: [["security", "true"]],
    };
  },

  // The gate has checked the JSON with the schema; what else is wrong is thrown as a list of issues.
  configure(json) {
    settings = JSON.parse(json);
  },

  selfTest() {
    const { tag, val } = decide({ tenants: ["blue"] }, "red");
    return [
      {
        name: "a stranger is refused",
        passed: tag === "reply" && val.status === 403,
        message: `a reply with 403 was expected, this came: ${tag}`,
      },
    ];
  },
};
