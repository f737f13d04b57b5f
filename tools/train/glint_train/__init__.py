"""Training pipeline of the bundled emoji models: data, autoencoder, denoiser, export."""
