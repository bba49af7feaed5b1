// Uses the pages as people do: by keyboard, on a phone, in the dark. Arguments: URL, folder for pictures. Prints what it saw as JSON.
'use strict';
const fs = require('fs');
const path = require('path');
const puppeteer = require('puppeteer-core');
const [url, folder, name, origin] = process.argv.slice(2);

(async () => {
    const browser = await puppeteer.launch({
        executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true,
        args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-proxy-server'],
    });
    const seen = { errors: [], steps: {} };
    const page = await browser.newPage();
    page.on('console', (message) => seen.errors.push('console: ' + message.text()));
    page.on('pageerror', (error) => seen.errors.push('page: ' + error.message));
    page.on('requestfailed', (request) => seen.errors.push('failed: ' + request.url()));
    page.on('response', (response) => { if (response.status() >= 400) seen.errors.push(response.status() + ': ' + response.url()); });
    const text = () => page.evaluate(() => document.querySelector('main').innerText);
    const wide = () => page.evaluate(() => document.scrollingElement.scrollWidth > window.innerWidth);
    const tabTo = async (selector) => {
        for (let i = 0; i < 60; i++) {
            await page.keyboard.press('Tab');
            if (await page.evaluate((s) => document.activeElement.matches(s), selector)) return true;
        }
        return false;
    };
    const enter = async () => { await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]); };
    await page.setViewport({ width: 1000, height: 700 });
    await page.goto(url + '/');
    seen.steps.list = await text();
    await page.screenshot({ path: path.join(folder, 'list.png') });
    seen.reached = { skip: await tabTo('a.skip'), search: await tabTo('input[name=q]') };
    seen.outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    await page.keyboard.type(name);
    await enter();
    seen.steps.search = await text();
    seen.found = await page.$$eval('ul.images li', (lines) => lines.length);
    seen.reached.image = await tabTo('ul.images a.name');
    await enter();
    seen.steps.image = await text();
    await page.screenshot({ path: path.join(folder, 'image.png'), fullPage: true });
    seen.reached.files = await tabTo('a[href$="/files"]');
    await enter();
    for (let i = 0; i < 50 && !(await page.$('table')); i++) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        await page.goto(page.url());
    }
    seen.steps.files = await text();
    seen.reached.folder = await tabTo('table a');
    await enter();
    seen.steps.folder = await text();
    await page.goto(url + '/i/' + origin + '/difference');
    for (let i = 0; i < 50 && !/Files/.test(await text()); i++) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        await page.goto(page.url());
    }
    seen.steps.difference = await text();
    seen.overflow = [];
    for (const scheme of ['light', 'dark']) {
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
        await page.setViewport({ width: 360, height: 640, isMobile: true });
        for (const at of ['/', '/i/' + origin, '/i/' + origin + '/files', '/i/' + origin + '/difference']) {
            await page.goto(url + at);
            if (await wide()) seen.overflow.push(scheme + ' ' + at);
        }
        seen[scheme] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    }
    await page.screenshot({ path: path.join(folder, 'phone.png') });
    // Without scripts it is the same: there are none.
    seen.scripts = await page.evaluate(() => document.scripts.length);
    await browser.close();
    fs.writeSync(1, JSON.stringify(seen));
})().catch((error) => { console.error(error); process.exit(1); });
