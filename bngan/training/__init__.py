"""Train a GAN: losses, penalties, optimisers, averaged weights, and the trainers."""
