"""A study's metric in templates, by its name on screen and with its unit."""

from django import template

from experiments.screens import metric_words

register = template.Library()
register.filter("metric", metric_words.label)
register.filter("metric_unit", metric_words.unit)
