// A checkout that publishes one completed order from Node and waits for the broker's confirm.
// usage: node checkout.mjs AMQP_URL PROGRAM_ID CODE
import { randomUUID } from 'node:crypto';
import amqp from 'amqplib';

const [url, programId, code] = process.argv.slice(2);
const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel();
const event = {
  specversion: '1.0', id: randomUUID(), source: '/node-shop', type: 'checkout.completed', time: new Date().toISOString(),
  data: {
    program_id: programId, order_ref: `order-${randomUUID()}`, codes: [code],
    attributes: { card_id: 'a1b2c3d4', recipient_name: 'Sarah', occasion: 'mother' },
  },
};
channel.publish('checkout', event.type, Buffer.from(JSON.stringify(event)), { persistent: true });
await channel.waitForConfirms();
await connection.close();
