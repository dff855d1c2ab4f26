// The official JavaScript client against a running Stoker: STOKER_URL says where.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

const url = process.env.STOKER_URL;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: "Say hi." }];
const weather = {
  type: "object",
  properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
  required: ["city"],
  additionalProperties: false,
};

const running = async () => {
  const state = await (await fetch(`${url}/v1/fabric/state`)).json();
  return Object.values(state.scheduler.classes).reduce((sum, one) => sum + one.running, 0);
};

const until = async (condition, limitMs = 20_000) => {
  const giveUpAt = Date.now() + limitMs;
  while (!(await condition())) {
    assert.ok(Date.now() < giveUpAt, "it took too long");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

test("a model is found by its name, and another is not", async () => {
  assert.equal((await client.models.retrieve(model)).id, model);
  await assert.rejects(client.models.retrieve("other"), { status: 404, code: "model_not_found" });
});

test("a chat has text, usage and the tier that served", async () => {
  const answer = await client.chat.completions.create({
    model,
    messages,
    max_completion_tokens: 5,
    service_tier: "priority",
  });

  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.usage.completion_tokens, 5);
  assert.equal(answer.service_tier, "priority");
  assert.match(answer._request_id, /^req_/);
});

test("a stream has its text in pieces, and usage where it was asked", async () => {
  const stream = await client.chat.completions.create({
    model,
    messages,
    max_completion_tokens: 4,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }

  assert.ok(text);
  assert.equal(usage.completion_tokens, 4);
});

test("a stream that is broken off frees its place", async () => {
  const stream = await client.chat.completions.create({
    model,
    messages,
    max_completion_tokens: 500,
    stream: true,
    ignore_eos: true,
  });
  for await (const _ of stream) break;

  await until(async () => (await running()) === 0);
});

test("a call that is aborted while it waits for its answer frees its place", async () => {
  const controller = new AbortController();
  const call = client.chat.completions.create(
    { model, messages, max_completion_tokens: 500, ignore_eos: true },
    { signal: controller.signal },
  );
  const rejected = assert.rejects(call, OpenAI.APIUserAbortError);
  await until(async () => (await running()) === 1);
  controller.abort();

  await rejected;
  await until(async () => (await running()) === 0);
});

test("an answer follows a JSON schema", async () => {
  const answer = await client.chat.completions.create({
    model,
    messages,
    max_completion_tokens: 100,
    temperature: 0,
    response_format: {
      type: "json_schema",
      json_schema: { name: "weather", strict: true, schema: weather },
    },
  });

  assert.ok(["Rome", "Oslo"].includes(JSON.parse(answer.choices[0].message.content).city));
});

test("tools are taken", async () => {
  const answer = await client.chat.completions.create({
    model,
    messages,
    max_completion_tokens: 30,
    tools: [{ type: "function", function: { name: "weather", parameters: weather } }],
  });

  const { content, tool_calls: calls } = answer.choices[0].message;
  assert.ok(content || calls);
});

test("logprobs come with their alternatives", async () => {
  const answer = await client.chat.completions.create({
    model,
    messages,
    max_completion_tokens: 3,
    logprobs: true,
    top_logprobs: 2,
  });

  assert.ok(answer.choices[0].logprobs.content[0].top_logprobs.length >= 2);
});

test("a background response is polled to its end, and deleted", async () => {
  let response = await client.responses.create({
    model,
    input: "Say hi.",
    max_output_tokens: 16,
    background: true,
  });
  const { id } = response;
  await until(async () => {
    response = await client.responses.retrieve(id);
    return !["queued", "in_progress"].includes(response.status);
  }, 60_000);

  assert.equal(response.id, id);
  assert.ok(["completed", "incomplete"].includes(response.status));
  assert.ok(response.output_text);
  await client.responses.delete(id);
  await assert.rejects(client.responses.retrieve(id), { status: 404 });
});

test("a background response is streamed, cut, and gone on with", async () => {
  const events = [];
  const begun = await client.responses.create({
    model,
    input: "Say hi.",
    max_output_tokens: 32,
    background: true,
    stream: true,
  });
  for await (const event of begun) {
    events.push(event);
    if (event.type === "response.output_text.delta") break;
  }
  const { id } = events[0].response;
  const after = events.at(-1).sequence_number;
  const rest = await client.responses.retrieve(id, { stream: true, starting_after: after });
  for await (const event of rest) events.push(event);
  const whole = await client.responses.retrieve(id);

  const numbers = events.map((event) => event.sequence_number);
  assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b));
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  assert.equal(deltas.map((event) => event.delta).join(""), whole.output_text);
  assert.equal(events.at(-1).response.status, whole.status);
});

test("a bad request names its field", async () => {
  const call = client.chat.completions.create({ model, messages: "hi" });

  await assert.rejects(call, { status: 400, code: "invalid_request", param: "messages" });
});

test("embeddings that the engine was not started for are an error that is not tried again", async () => {
  const call = client.embeddings.create({ model, input: "x" }, { maxRetries: 3 });

  await assert.rejects(call, (error) => {
    assert.equal(error.status, 501);
    assert.equal(error.headers.get("x-should-retry"), "false");
    return true;
  });
});
