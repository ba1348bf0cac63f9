"""Kinds of damage to folders of data, each with what it makes of them: the generator of `test_damage.py`.

A kind is a function that damages a folder and returns what must come of it. Where it changes what
the files mean it changes the truth too, the folder's `splits`.
"""
