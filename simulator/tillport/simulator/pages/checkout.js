// The example checkout. In an application the intent is made by its own server with the secret key; here the page does
// both parts, which is fine with a simulator and nowhere else.
'use strict';

const field = (id) => document.getElementById(id);

async function main() {
  const keys = await (await fetch('/_sim/')).json();
  const stripe = Stripe(keys.publishable_key);
  const card = stripe.elements().create('card');
  card.mount('#card');
  for (const button of document.querySelectorAll('[data-card]')) {
    button.addEventListener('click', () => {
      const values = {number: button.dataset.card, exp_month: '12', exp_year: '2034', cvc: '123'};
      for (const [name, value] of Object.entries(values)) document.querySelector(`#card [name=${name}]`).value = value;
    });
  }

  const tell = (text, good) => {
    field('result').textContent = text;
    field('result').className = good ? 'good' : 'bad';
  };

  field('pay').addEventListener('submit', async (event) => {
    event.preventDefault();
    field('submit').disabled = true;
    try {
      const made = await fetch('/v1/payment_intents', {
        method: 'POST',
        headers: {Authorization: `Bearer ${keys.secret_key}`},
        body: new URLSearchParams({
          'amount': field('amount').value, 'currency': field('currency').value, 'allowed_payment_method_types[]': 'card',
        }),
      });
      const intent = await made.json();
      if (!made.ok) throw new Error(intent.error.message);
      const back = field('whole').checked ? {return_url: location.origin + location.pathname} : {};
      const result = await stripe.confirmCardPayment(intent.client_secret, {payment_method: {card}, ...back});
      if (result.error) throw new Error(result.error.message);
      tell(`${result.paymentIntent.id} ${result.paymentIntent.status}`, true);
    } catch (error) {
      tell(error.message, false);
    } finally {
      field('submit').disabled = false;
    }
  });

  const back = new URLSearchParams(location.search);
  if (back.has('payment_intent')) {
    const {paymentIntent, error} = await stripe.retrievePaymentIntent(back.get('payment_intent_client_secret'));
    tell(error ? error.message : `${paymentIntent.id} ${paymentIntent.status}`, paymentIntent?.status === 'succeeded');
  }
}

main();
