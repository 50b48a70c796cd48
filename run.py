"""Fine-tune a pretrained model: `python run.py --phase=head`, then `--phase=full`; `--help` for the rest."""

from tf_transfer import cli

if __name__ == "__main__":
    cli.run()
