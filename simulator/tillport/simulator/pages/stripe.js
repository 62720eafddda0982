// A stand-in for Stripe.js, for pages that are tried against the simulator. `Stripe(publishableKey)` has the calls of
// the real one that a card checkout uses, with the same arguments and results:
//   elements().create('card'), createToken, createPaymentMethod, createConfirmationToken, confirmCardPayment,
//   confirmCardSetup, confirmPayment, confirmSetup, handleNextAction, handleCardAction, retrievePaymentIntent,
//   retrieveSetupIntent
// Two things differ. The card's fields are plain inputs of the page, not frames of Stripe's: never give them a real
// card. And a live key is refused, before anything is sent.
(() => {
  'use strict';
  const home = new URL(document.currentScript.src).origin;
  const POLL_MILLISECONDS = 150;
  const LOST = 'api_connection_error';

  // {a: {b: [1]}} → a[b][0]=1
  function encode(value, name, into) {
    if (value === undefined || value === null) return into;
    if (typeof value === 'object') {
      for (const [key, inner] of Object.entries(value)) encode(inner, name ? `${name}[${key}]` : key, into);
    } else {
      into.append(name, String(value));
    }
    return into;
  }

  // Fields for a card, where the real ones would be frames.
  class CardElement {
    constructor() {
      this._heard = {};
      this._root = document.createElement('div');
      for (const [name, label, size, complete] of [
        ['number', 'Card number', 19, 'cc-number'], ['exp_month', 'MM', 2, 'cc-exp-month'],
        ['exp_year', 'YYYY', 4, 'cc-exp-year'], ['cvc', 'CVC', 4, 'cc-csc'],
      ]) {
        const input = document.createElement('input');
        Object.assign(input, {name, placeholder: label, size: size + 2, maxLength: size + 4, inputMode: 'numeric'});
        input.setAttribute('aria-label', label);
        input.autocomplete = complete;
        input.addEventListener('input', () => this._tell('change', {complete: this._complete(), error: undefined}));
        this._root.append(input);
      }
    }

    mount(where) {
      (typeof where === 'string' ? document.querySelector(where) : where).append(this._root);
      setTimeout(() => this._tell('ready', {}));
    }

    unmount() { this._root.remove(); }

    destroy() { this.unmount(); }

    clear() { for (const input of this._root.children) input.value = ''; }

    focus() { this._root.firstChild.focus(); }

    on(what, handler) { (this._heard[what] ??= []).push(handler); return this; }

    _tell(what, event) { for (const handler of this._heard[what] ?? []) handler({elementType: 'card', ...event}); }

    _complete() { return [...this._root.children].every((input) => input.value.trim() !== ''); }

    get values() {
      return Object.fromEntries([...this._root.children].map((i) => [i.name, i.value.replaceAll(' ', '')]));
    }
  }

  class Elements {
    constructor(options = {}) { this._options = options; this._made = {}; }

    create(type) {
      if (type !== 'card' && type !== 'payment') throw new Error(`The simulator's Stripe.js has no '${type}' element.`);
      return (this._made[type] = new CardElement());
    }

    getElement(type) { return this._made[type] ?? null; }

    submit() { return Promise.resolve({}); }

    get card() { return this._made.payment ?? this._made.card; }
  }

  function Stripe(key, options = {}) {
    if (typeof key !== 'string' || !key.startsWith('pk_')) {
      throw new Error('Please call Stripe() with your publishable key. You used an empty string or a secret key.');
    }
    if (key.startsWith('pk_live_')) throw new Error('This is the simulator: give it its own test key, never a live one.');

    // The key travels among the parameters, as from the real script: a page of any site may ask without a preflight.
    async function call(method, path, params) {
      const form = encode({...params, key, _stripe_version: options.apiVersion, _stripe_account: options.stripeAccount}, '',
        new URLSearchParams());
      try {
        const answer = method === 'GET'
          ? await fetch(`${home}${path}?${form}`)
          : await fetch(home + path, {method, body: form});
        const body = await answer.json();
        return answer.ok ? {found: body} : {error: body.error};
      } catch {
        // A lost answer is an error that the page is told, as any other; the payment may have been made.
        return {error: {type: LOST, message: 'We could not reach the simulator, or its answer was lost.'}};
      }
    }

    const named = (name, {found, error}) => (error ? {error} : {[name]: found});
    const cardOf = (given) => (given instanceof CardElement ? given.values : given);
    const methodData = (given) => ({...given, type: given.type ?? 'card', card: cardOf(given.card)});
    const kindOf = (secret) => (secret.startsWith('seti_') ? 'setup' : 'payment');
    const idOf = (secret) => secret.split('_secret_')[0];
    const pathOf = (secret) => `/v1/${kindOf(secret)}_intents/${idOf(secret)}`;
    const nameOf = (secret) => `${kindOf(secret)}Intent`;
    const retrieve = async (secret) => named(nameOf(secret), await call('GET', pathOf(secret), {client_secret: secret}));

    // The bank's page in a frame over this one, until the intent waits for nothing any more.
    async function challenge(secret, intent) {
      const action = intent.next_action;
      if (action.type === 'redirect_to_url') {
        location.assign(action.redirect_to_url.url);
        return new Promise(() => {});
      }
      const frame = document.createElement('iframe');
      frame.src = action.use_stripe_sdk.stripe_js;
      frame.title = '3-D Secure';
      frame.name = 'stripe-challenge';
      frame.style.cssText = 'position:fixed;inset:10%;width:80%;height:80%;background:#fff;border:2px solid #666;z-index:9999';
      document.body.append(frame);
      try {
        for (;;) {
          await new Promise((later) => setTimeout(later, POLL_MILLISECONDS));
          const now = await retrieve(secret);
          const seen = now[nameOf(secret)];
          if (now.error?.type === LOST) continue;
          if (now.error || seen.status !== 'requires_action') return told(secret, now);
        }
      } finally {
        frame.remove();
      }
    }

    function told(secret, result) {
      const intent = result[nameOf(secret)];
      const failure = intent && (intent.last_payment_error ?? intent.last_setup_error);
      if (intent?.status === 'requires_payment_method' && failure) {
        return {error: {...failure, [`${kindOf(secret)}_intent`]: intent}};
      }
      return result;
    }

    async function confirm(secret, params, {handleActions = true} = {}) {
      const result = named(nameOf(secret), await call('POST', `${pathOf(secret)}/confirm`, {
        ...params, client_secret: secret, use_stripe_sdk: params.return_url ? undefined : true,
      }));
      const intent = result[nameOf(secret)];
      if (handleActions && intent?.status === 'requires_action') return challenge(secret, intent);
      return result;
    }

    function confirmCard(secret, data = {}, how = {}) {
      const {payment_method: method, ...rest} = data;
      const given = typeof method === 'object' && method !== null
        ? {payment_method_data: methodData(method)} : {payment_method: method};
      return confirm(secret, {...rest, ...given}, how);
    }

    // With Elements: a return_url is always given, and used only where the bank wants the whole page.
    async function confirmElements({elements, clientSecret, confirmParams = {}, redirect = 'always'}) {
      const secret = clientSecret ?? elements._options.clientSecret;
      const {return_url: back, payment_method_data: more, ...rest} = confirmParams;
      const method = elements?.card
        ? {payment_method_data: {...more, type: 'card', card: elements.card.values}} : {payment_method_data: more};
      const result = await confirm(secret, {...rest, ...method});
      const intent = result[nameOf(secret)];
      if (!result.error && redirect === 'always' && back) {
        const url = new URL(back, location.href);
        url.searchParams.set(`${kindOf(secret)}_intent`, intent.id);
        url.searchParams.set(`${kindOf(secret)}_intent_client_secret`, secret);
        url.searchParams.set('redirect_status', intent.status === 'succeeded' ? 'succeeded' : 'pending');
        location.assign(url);
        return new Promise(() => {});
      }
      return result;
    }

    async function handleNextAction({clientSecret: secret}) {
      const now = await retrieve(secret);
      const intent = now[nameOf(secret)];
      return intent?.status === 'requires_action' ? challenge(secret, intent) : now;
    }

    return {
      elements: (how) => new Elements(how),
      createToken: async (card, data = {}) =>
        named('token', await call('POST', '/v1/tokens', {card: {...cardOf(card), ...data}})),
      createPaymentMethod: async (first, card, data = {}) => named('paymentMethod', await call('POST', '/v1/payment_methods',
        methodData(typeof first === 'string' ? {type: first, card, ...data}
          : first.elements ? {...first.params, card: first.elements.card} : first))),
      createConfirmationToken: async ({elements, params = {}}) =>
        named('confirmationToken', await call('POST', '/v1/confirmation_tokens', {
          ...params, payment_method_data: {...params.payment_method_data, type: 'card', card: elements.card.values},
        })),
      confirmCardPayment: confirmCard,
      confirmCardSetup: confirmCard,
      confirmPayment: confirmElements,
      confirmSetup: confirmElements,
      handleNextAction,
      handleCardAction: (clientSecret) => handleNextAction({clientSecret}),
      handleCardPayment: (secret, element) => confirmCard(secret, {payment_method: {card: element}}),
      retrievePaymentIntent: retrieve,
      retrieveSetupIntent: retrieve,
    };
  }

  Stripe.version = 3;
  window.Stripe = Stripe;
})();
