module.exports = require('imgmanifest');
