package tally;

import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.Tokenizer;
import org.apache.lucene.analysis.standard.StandardTokenizer;
import org.elasticsearch.plugin.NamedComponent;
import org.elasticsearch.plugin.analysis.TokenFilterFactory;
import org.elasticsearch.plugin.analysis.TokenizerFactory;

/**
 * The names of analysis that Elasticsearch's own index for API keys asks for. The distribution that Maven has lacks the
 * module that brings them (analysis-common); they cut up the e-mail addresses of users, of which the tests have none.
 */
public class KeysIndex {
    @NamedComponent("uax_url_email")
    public static class Words implements TokenizerFactory {
        @Override
        public Tokenizer create() {
            return new StandardTokenizer();
        }
    }

    @NamedComponent("pattern_capture")
    public static class Parts implements TokenFilterFactory {
        @Override
        public TokenStream create(TokenStream words) {
            return words;
        }
    }

    @NamedComponent("unique")
    public static class Once implements TokenFilterFactory {
        @Override
        public TokenStream create(TokenStream words) {
            return words;
        }
    }
}
