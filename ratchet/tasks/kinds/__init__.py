"""The ready-made kinds of models. A model carries the source of its kind, as it carries a user's class: an upgrade of
Ratchet changes no model that was trained before. So the modules here import none of Ratchet's but each other."""
