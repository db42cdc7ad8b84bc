/** What the process that restores and the one that has the private key say to each other. */
import * as v from 'valibot';

const Order = v.object({
  location: v.string(),
  publicKey: v.string(),
  hashKey: v.string(),
  point: v.string(),
  manifest: v.unknown(),
  target: v.string(),
});
export type Order = v.InferOutput<typeof Order>;

const Answer = v.object({ question: v.number(), keys: v.array(v.string()) });
export type Answer = v.InferOutput<typeof Answer>;

const Question = v.variant('type', [
  v.object({ type: v.literal('open'), question: v.number(), boxes: v.array(v.string()) }),
  v.object({ type: v.literal('done') }),
  v.object({ type: v.literal('failed'), reason: v.string() }),
]);
export type Question = v.InferOutput<typeof Question>;

export function parseOrder(message: unknown): Order {
  return v.parse(Order, message);
}

/** Undefined for another message. */
export function parseAnswer(message: unknown): Answer | undefined {
  const { success, output } = v.safeParse(Answer, message);
  return success ? output : undefined;
}

export function parseQuestion(message: unknown): Question {
  return v.parse(Question, message);
}
