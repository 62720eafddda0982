// stripe-node, unmodified, against the server that TILLPORT_URL names. Prints one JSON object of what it saw.
import assert from 'node:assert/strict';
import {createServer} from 'node:http';
import {createRequire} from 'node:module';

const Stripe = createRequire(process.env.TILLPORT_NPM + '/')('stripe');
const where = new URL(process.env.TILLPORT_URL);
const options = {host: where.hostname, port: where.port, protocol: 'http', telemetry: false};
const stripe = new Stripe(process.env.TILLPORT_KEY, {...options, maxNetworkRetries: 2});

// A receiver of webhooks that trusts constructEvent alone.
const heard = [];
let secret;
const hook = createServer(async (request, response) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  const body = Buffer.concat(pieces);
  heard.push(stripe.webhooks.constructEvent(body, request.headers['stripe-signature'], secret));
  assert.throws(
    () => stripe.webhooks.constructEvent(body.toString() + ' ', request.headers['stripe-signature'], secret),
    {type: 'StripeSignatureVerificationError'},
  );
  response.end('ok');
});
await new Promise((ready) => hook.listen(0, '127.0.0.1', ready));
const endpoint = await stripe.webhookEndpoints.create({
  url: `http://127.0.0.1:${hook.address().port}/hook`,
  enabled_events: ['*'],
});
secret = endpoint.secret;

// Create, confirm, capture, expand, refund.
const customer = await stripe.customers.create({name: 'Ada', metadata: {order: '6735'}});
let intent = await stripe.paymentIntents.create({
  amount: 2000,
  currency: 'usd',
  customer: customer.id,
  allowed_payment_method_types: ['card'],
  capture_method: 'manual',
  description: null,
});
assert.equal(intent.status, 'requires_payment_method');
intent = await stripe.paymentIntents.confirm(intent.id, {payment_method: 'pm_card_visa'});
assert.equal(intent.status, 'requires_capture');
intent = await stripe.paymentIntents.capture(intent.id, {}, {maxNetworkRetries: 0});
assert.equal(intent.status, 'succeeded');
const full = await stripe.paymentIntents.retrieve(intent.id, {
  expand: ['latest_charge.balance_transaction', 'customer'],
});
assert.equal(full.latest_charge.amount, 2000);
assert.equal(full.customer.name, 'Ada');
const refund = await stripe.refunds.create({payment_intent: intent.id, amount: 500});
assert.equal(refund.status, 'succeeded');

// Lists walk themselves.
for (let i = 0; i < 5; i++) await stripe.customers.create({email: `${i}@shop.test`});
const names = [];
for await (const one of stripe.customers.list({limit: 2})) names.push(one.email ?? one.name);
assert.deepEqual(names, ['4@shop.test', '3@shop.test', '2@shop.test', '1@shop.test', '0@shop.test', 'Ada']);

// Errors by class, with their fields.
const failed = async (promise) => promise.then(() => assert.fail('it succeeded'), (error) => error);
const declined = await failed(
  stripe.paymentIntents.create({
    amount: 2000,
    currency: 'usd',
    confirm: true,
    allowed_payment_method_types: ['card'],
    payment_method: 'pm_card_chargeDeclinedInsufficientFunds',
  }),
);
assert.equal(declined.type, 'StripeCardError');
assert.equal(declined.decline_code, 'insufficient_funds');
assert.equal(declined.payment_intent.status, 'requires_payment_method');
const missing = await failed(stripe.charges.retrieve('ch_nowhere'));
assert.equal(missing.type, 'StripeInvalidRequestError');
assert.equal(missing.code, 'resource_missing');
assert.equal(missing.statusCode, 404);
assert.ok(missing.requestId.startsWith('req_'));
const stranger = new Stripe('sk_test_of_somebody_else', options);
assert.equal((await failed(stranger.charges.list())).type, 'StripeAuthenticationError');
const live = await failed(new Stripe('sk_live_123456789', options).charges.list());
assert.match(live.message, /live-mode/);

// Idempotency: the same answer for the same key, a refusal for other parameters, one effect for a lost answer.
const key = {idempotencyKey: 'order-6735'};
const pay = {amount: 700, currency: 'usd', payment_method: 'pm_card_visa', confirm: true, allowed_payment_method_types: ['card']};
const first = await stripe.paymentIntents.create(pay, key);
const second = await stripe.paymentIntents.create(pay, key);
assert.equal(first.id, second.id);
assert.equal(second.lastResponse.headers['idempotent-replayed'], 'true');
assert.equal((await failed(stripe.paymentIntents.create({...pay, amount: 701}, key))).type, 'StripeIdempotencyError');
const before = (await stripe.paymentIntents.list({limit: 100})).data.length;
await fetch(new URL('/_sim/script', where), {
  method: 'POST',
  headers: {'Content-Type': 'application/json'},
  body: JSON.stringify([{kind: 'answer_lost', method: 'POST'}]),
});
const survived = await stripe.paymentIntents.create(pay);
assert.equal(survived.lastResponse.headers['idempotent-replayed'], 'true');
assert.equal((await stripe.paymentIntents.list({limit: 100})).data.length, before + 1);

// A publishable key makes a token and sees what it may.
const open = new Stripe(process.env.TILLPORT_PUBLISHABLE, options);
const token = await open.tokens.create({card: {number: '4242424242424242', exp_month: 12, exp_year: 2034, cvc: '123'}});
assert.ok(token.id.startsWith('tok_'));
assert.equal((await failed(open.customers.list())).type, 'StripePermissionError');

// Searching, and what an update says in its event.
await stripe.customers.update(customer.id, {metadata: {order: '6736'}, name: 'Ada L'});
const wanted = ['payment_intent.succeeded', 'charge.refunded', 'payment_intent.payment_failed', 'customer.updated'];
const end = Date.now() + 15000;
while (!wanted.every((type) => heard.some((event) => event.type === type)) && Date.now() < end) {
  await new Promise((later) => setTimeout(later, 20));
}
for (const type of wanted) assert.ok(heard.some((event) => event.type === type), `no ${type} came`);
const updated = heard.find((event) => event.type === 'customer.updated');
assert.equal(updated.data.previous_attributes.name, 'Ada');
hook.close();
hook.closeAllConnections();
console.log(JSON.stringify({version: Stripe.PACKAGE_VERSION, events: heard.length}));
