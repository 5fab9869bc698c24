"""How an expert's hidden states and the common expert's become one, a combiner a file.

A combiner plug-in has ``build(width)``: a module that maps ``(expert_BTD, common_BTD)`` to states [B, T, D]. Each
expert has its own, so that training one language leaves the others as they are.
"""
