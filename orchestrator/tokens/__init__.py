"""Text to tokens to blocks: the tokenizer, the balanced choice of documents, packed blocks and the order of batches.

In the order of the data: `sampling` (text to train a tokenizer on), `tokenizer`, `encoding` (documents to token ids),
`balance` (which documents), `packing` (one stream a language), `blocks` (to read it), `batches` (in which order),
`inspect` (counts). `storage` holds what they share about files.
"""
