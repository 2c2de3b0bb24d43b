"""Makes the pages of this app known to the site."""

from experiments import screens as screens
