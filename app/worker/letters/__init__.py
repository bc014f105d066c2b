"""Dead letters, as commands and the web server read them and send them back."""
