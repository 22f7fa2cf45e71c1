// The partner API's own integration sample, unchanged but for the host, inside the least program that runs it.
// Prints its port; ends with its standard input.
import express from 'express';

const app = express();

app.get('/free-card', async (req, res) => {
const resp = await fetch(`${process.env.MINTWIRE_HOST}/api/partners/codes/generate`, {
method: 'POST',
headers: { 'X-Partner-Key': process.env.CINEMATICCARD_API_KEY },
});
const { url } = await resp.json();
res.redirect(url);
});

const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume().on('end', () => process.exit(0));
