"""A recipe as small as a mixture can be, and texts of four languages for it."""

import json
import random

WORDS = {
    "en": "the house stands near a river where children walk with their old dog every summer morning and sing",
    "fr": "la maison est près du fleuve où les enfants marchent avec leur vieux chien chaque matin d’été en chantant",
    "es": "la casa está cerca del río donde los niños caminan con su perro viejo cada mañana de verano y cantan",
    "de": "das Haus steht am Fluss wo die Kinder mit ihrem alten Hund jeden Sommermorgen gehen und singen",
}
RECIPE = """
name: {name}
corpus:
  languages:
    en: {{source: {{type: files, path: {texts}/en.jsonl}}}}
    fr: {{source: {{type: files, path: {texts}/fr.jsonl}}}}
    de: {{source: {{type: files, path: {texts}/de.jsonl}}}}
  deduplication: {{near: null}}
  splits: {{validation: 0.2, test: 0.2}}
tokenizer: {{vocab_size: 340}}
blocks: {{context: 32}}
teacher:
  model: &model {{type: gpt2, layers: 1, width: 16, heads: 2}}
  training: &training
    {{tokens: 3_200, batch_tokens: 320, micro_batch: 10, eval_every: 5, eval_blocks: 2, checkpoint_every: 5,
     precision: fp32, optimizer: {{type: adamw, lr: 1.0e-2}}}}
experts: {{model: *model, training: *training, distillation: {{teacher: hidden_cache}}}}
setup: {setup}
router: {{sequences_per_language: 60}}
evaluation: {{bootstrap: 100, max_blocks: 4, batch: 4}}
resources: {{cpus: 1}}
tracking: {{type: none}}
"""


def write_text(path, language, documents=40, words=40):
    draw = random.Random(language)
    rows = [" ".join(draw.choices(WORDS[language].split(), k=words)) + "." for _ in range(documents)]
    path.write_text("".join(json.dumps({"id": f"{language}-{i}", "text": row}) + "\n" for i, row in enumerate(rows)))
