// A partner's receiver: Express keeps the raw body, `standardwebhooks` verifies it. Prints its port, then a JSON line for
// each webhook. The secret comes as one line on standard input, since it is made only once the endpoint's URL is known.
import readline from 'node:readline';
import express from 'express';
import { Webhook } from 'standardwebhooks';

const lines = readline.createInterface({ input: process.stdin });
let webhook;
lines.once('line', (secret) => { webhook = new Webhook(secret); });
lines.on('close', () => process.exit(0));

const app = express();
app.post('/hook', express.raw({ type: 'application/json' }), (req, res) => {
  try {
    const event = webhook.verify(req.body, req.headers);
    console.log(JSON.stringify({ verified: true, id: req.headers['webhook-id'], event, raw: req.body.toString() }));
    res.sendStatus(204);
  } catch (error) {
    console.log(JSON.stringify({ verified: false, error: String(error) }));
    res.sendStatus(401);
  }
});

const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port));
